"""The worker process: arq entry points over core. `python -m worker.main`, or `inferd worker`."""
