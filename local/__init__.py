"""One machine: the embedded servers, and what `inferd serve`, `inferd demo` and `inferd reset` do with them."""
