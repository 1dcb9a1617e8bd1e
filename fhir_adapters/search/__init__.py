"""FHIR search: a query string becomes criteria, a resource becomes index rows; both by one table.

`parameters` is the table, `index` reads resources by it, `parse` reads queries by it: `asked` what is asked
(`modifiers` and `values` by kind), `results` and `includes` how it is answered. `page` signs the way on.
"""
