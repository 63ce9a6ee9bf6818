"""What scenarios are compared with, as its own documentation writes it, each in a process of its own."""
