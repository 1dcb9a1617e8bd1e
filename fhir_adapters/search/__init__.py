"""FHIR search: a query string becomes criteria, a resource becomes index rows; both by one table.

`parameters` is the table, `index` reads resources by it, `parse` reads queries by it, `page` signs the way on.
"""
