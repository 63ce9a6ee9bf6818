"""What a forked process has before it starts (tests/support/forked.py): the product, imported and left to no garbage
collection."""

import gc
from importlib import import_module

for _name in ("api.main", "worker.main", "core.providers.openai_compatible"):
    import_module(_name)
gc.freeze()
