"""The checks of `inferd doctor`, one file for each subject; a check returns findings and never raises."""
