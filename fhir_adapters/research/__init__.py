"""De-identified export for research: 45 CFR 164.514(b)(2) (Safe Harbor) as rules over the R4 definitions."""
