"""The Lua scripts that speak arq's protocol, and the pieces that they include.

Read by core/queue/lua_text.py; each script is one method of core/queue/scripts.py.
"""
