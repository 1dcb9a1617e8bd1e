"""Import: files of FHIR resources in, the store or another server out (`consilium fhir import`).

`sources` finds the files, `pieces` cuts one into resources without reading it whole, `survey` learns which id each
fullUrl will have, `items` says what is to be done with a resource, `prepare` judges it, `writing` puts it in the
store, `turn` takes one file through, `run` all of them.
"""
