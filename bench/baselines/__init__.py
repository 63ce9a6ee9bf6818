"""The baselines of the scenarios, written as their own documentation does, each in a process of its own."""
