"""The models that this package can make. A new recipe is a module and a line here."""

from model_export.recipe import Recipe
from model_export.recipes import (
    breast_cytology,
    breast_lesion,
    diabetes_risk,
    heart_rate,
    heart_rate_simulated,
    lung_nodule,
    lung_nodule_phantom,
)

RECIPES: tuple[Recipe, ...] = (
    breast_cytology.RECIPE,
    breast_lesion.RECIPE,
    diabetes_risk.RECIPE,
    heart_rate.RECIPE,
    heart_rate_simulated.RECIPE,
    lung_nodule.RECIPE,
    lung_nodule_phantom.RECIPE,
)
