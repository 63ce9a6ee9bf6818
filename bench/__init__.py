"""Measures inferd beside what people use today: every scenario runs its baseline in the same run, interleaved."""
