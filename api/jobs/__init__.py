"""The routes of jobs and their shapes."""
