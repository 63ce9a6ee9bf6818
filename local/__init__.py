"""One machine: `inferd serve`, `inferd demo`, `inferd reset`, and the whole command line with them.

main.py, app.py, commands.py    the entry point, the application, the signatures of the three commands
serve/, demo/, reset.py         what the commands do
plan.py, stack.py, processes.py what serve and demo share: everything to run, in order, as child processes
embedded/                       PostgreSQL, Valkey and the model, from Python packages
"""
