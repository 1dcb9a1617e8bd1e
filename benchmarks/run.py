"""`make bench`: every benchmark that runs on this machine, one after the other, each printing its figures.

Timings are of this machine and minute; trust the ratios that one run gives.
"""

import subprocess
import sys

BENCHMARKS = (
    ("inference", "latency of the shipped models"),
    ("cds_hooks --seconds 2 --rounds 1", "CDS Hooks over HTTP, beside HealthChain where it is installed"),
    ("fhir_search", "FHIR search and ingest at 20,000 Observations"),
    ("study --studies 6", "last image to result"),
    ("dicom_ingest --quick", "C-STORE of durable objects beside Orthanc and storescp"),
    ("hl7v2 --messages 1000", "HL7 v2 messages, stored and acknowledged"),
    ("crash --kills 10 --studies 8", "kill -9 while images arrive"),
)


def main() -> int:
    """Run them all; return how many failed."""
    wanted = sys.argv[1:]
    failed = 0
    for command, what in BENCHMARKS:
        module, *arguments = command.split()
        if wanted and module not in wanted:
            continue
        print(f"\n== {module}: {what}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
