"""What `inferd doctor` looks at, one file for each kind of thing; a check answers with findings and never raises."""
