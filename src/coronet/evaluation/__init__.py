"""How good models are: per case and cohort, agreement of scores, paired tests, annotation error."""
