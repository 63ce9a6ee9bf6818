"""The checks of `inferd doctor`, one file for each kind of thing; a check returns findings and never raises."""
