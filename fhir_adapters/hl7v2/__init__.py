"""HL7 v2 messages into FHIR R4, by the guide "HL7 Version 2 to FHIR": ADT, ORM/OMG/OMI and ORU over MLLP."""
