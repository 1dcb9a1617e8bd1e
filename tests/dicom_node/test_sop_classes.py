"""What the node offers is known without pynetdicom, and is what pynetdicom and pydicom know by these names."""

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, sop_class

from dicom_node import sop_classes
from dicom_node.query.access import May
from dicom_node.query.node import MODELS
from dicom_node.syntaxes import ENCAPSULATED_NATIVE, NATIVE, OFFERED


def test_the_storage_classes_are_those_of_pynetdicom_under_its_names():
    ours = {name: getattr(sop_class, name) for name in sop_classes.STORAGE_CLASSES}
    assert ours == dict(sop_classes.STORAGE_CLASSES)
    assert sorted(sop_classes.STORAGE_CLASSES.values()) == sorted(
        str(one.abstract_syntax) for one in AllStoragePresentationContexts
    )
    assert set(sop_classes.IMAGE_CLASSES) < set(sop_classes.STORAGE_CLASSES.values())


def test_the_other_classes_are_those_of_their_names():
    for name in (
        "Verification",
        "StorageCommitmentPushModel",
        "ModalityPerformedProcedureStep",
        "InstanceAvailabilityNotification",
        "UnifiedProcedureStepPush",
        "UnifiedProcedureStepQuery",
    ):
        constant = "".join(f"_{one}" if one.isupper() else one for one in name).strip("_").upper()
        assert getattr(sop_classes, constant) == getattr(sop_class, name)
    finds = {str(uid) for uid, (may, _) in MODELS.items() if may is May.FIND}
    assert set(sop_classes.QUERY) == finds
    assert set(sop_classes.RETRIEVE) == set(map(str, MODELS)) - finds


def test_the_offered_transfer_syntaxes_are_pynetdicom_s_and_one_that_it_has_no_name_for():
    assert sorted(OFFERED) == sorted([*ALL_TRANSFER_SYNTAXES, ENCAPSULATED_NATIVE])
    assert set(OFFERED) >= NATIVE
