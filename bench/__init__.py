"""Benchmarks of inferd against what people use today: every scenario alternates with its baseline in the same run."""
