"""One scenario a file: what is measured, its baseline and its target. bench/catalogue.py lists them."""
