"""The models that this package can make. A new recipe is a module and a line here."""

from model_export.recipe import Recipe
from model_export.recipes import diabetes_risk, lung_nodule

RECIPES: tuple[Recipe, ...] = (diabetes_risk.RECIPE, lung_nodule.RECIPE)
