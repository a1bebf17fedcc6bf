"""The digital chest phantom: anatomy, deposits, scanner and cohort."""
