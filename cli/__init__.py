"""The command line `inferd …`: Typer and Rich over core and over the API's HTTP; it imports neither api nor worker."""
