"""One question each: what is measured, against which baseline, and what the target is. Listed in bench/catalogue.py."""
