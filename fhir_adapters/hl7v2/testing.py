"""Messages to test with: what a hospital's systems send, small and made up."""

# ruff: noqa: E501 - a segment is one line

ADMISSION = """MSH|^~\\&|ADT1|GENERAL|CONSILIUM|GENERAL|20261127101500+0100||ADT^A01^ADT_A01|A1|P|2.5.1|||AL|NE||UNICODE UTF-8
EVN|A01|20261127101400
PID|1||4711^^^GENERAL^MR~756.1234.5678.97^^^AHV&2.16.756.5.32&ISO^SS||Müller^Anna^Maria^^Dr.^^L~Meier^^^^^^M||19700203|F|||Weg 1^^Bern^BE^3000^CH^H||+41 31 000 00 00^PRN^PH~^NET^Internet^anna@example.org|^WPN^PH^^41^31^1112233|de^German^ISO639|M
PV1|1|I|W3^12^2^GENERAL||||D1^Huber^Eva^^^Dr.^^^GENERAL|D2^Moser^Jan^^^^^^GENERAL||CAR|||||||D1^Huber^Eva^^^Dr.^^^GENERAL||V100^^^GENERAL^VN|||||||||||||||||||||||||20261127100000
PV2|||I10^Hypertension^I10"""

RESULT = """MSH|^~\\&|LAB|GENERAL|CONSILIUM|GENERAL|20261127120000+0100||ORU^R01^ORU_R01|R1|P|2.5.1
PID|1||4711^^^GENERAL^MR||Müller^Anna||19700203|F
PV1|1|I|W3||||||||||||||||V100^^^GENERAL^VN
ORC|RE|P77^ORDERS|F88^LAB
OBR|1|P77^ORDERS|F88^LAB|CBC^Blood count^L^58410-2^CBC panel^LN|||20261127080000|||||||||D1^Huber^Eva^^^Dr.^^^GENERAL||||||20261127115900||HM|F||||||I10^Hypertension^I10|R9&Roth&Lea&&&&&&GENERAL
NTE|1||Sample slightly haemolysed
OBX|1|NM|718-7^Haemoglobin^LN||13.20|g/dl^^L|12.0-16.0|N|||F|||20261127083000||T1^Tester^Tom^^^^^^LAB
NTE|1||Checked twice
OBX|2|NM|WBC^Leukocytes^L||11.5|K/uL|4.0-10.0|H|||C
OBX|3|SN|CRP^C-reactive protein^L||<^5|mg/L|<5||||P
OBX|4|CWE|BG^Blood group^L||A^Group A^L||||||F
OBX|5|ST|REM^Remark^L||a \\T\\ b\\.br\\next line||||||F"""

ORDER = """MSH|^~\\&|RIS|GENERAL|CONSILIUM|GENERAL|20261127090000+0100||OMI^O23^OMI_O23|O1|P|2.5.1
PID|1||4711^^^GENERAL^MR||Müller^Anna||19700203|F
PV1|1|I|W3||||||||||||||||V100^^^GENERAL^VN
ORC|NW|P90^RIS|F91^RIS||SC||||20261127085500|||D1^Huber^Eva^^^Dr.^^^GENERAL
TQ1|1||||||20261127140000||S
OBR|1|P90^RIS|F91^RIS|XR-CH^Chest X-ray^L|||||||||cough for three weeks||^^^Chest^Left|||||||||RAD|||||||R05^Cough^I10
IPC|ACC500|RP1|1.2.3.4|SPS1|DX"""

MERGE = """MSH|^~\\&|ADT1|GENERAL|CONSILIUM|GENERAL|20261127150000||ADT^A40^ADT_A39|M1|P|2.5.1
EVN|A40|20261127150000
PID|1||4711^^^GENERAL^MR||Müller^Anna||19700203|F
MRG|0815^^^GENERAL^MR"""


def raw(text: str, **changed: str) -> bytes:
    """Return a message as it goes over the wire. changed: control, event: other values for MSH-10 and MSH-9.2."""
    lines = text.split("\n")
    fields = lines[0].split("|")
    if "control" in changed:
        fields[9] = changed["control"]
    if "event" in changed:
        fields[8] = f"{fields[8].split('^')[0]}^{changed['event']}"
        lines = [line.replace("EVN|A01", f"EVN|{changed['event']}") for line in lines]
    lines[0] = "|".join(fields)
    return ("\r".join(lines) + "\r").encode()
