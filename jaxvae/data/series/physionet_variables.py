"""What was measured in PhysioNet's challenge of 2012, in the order of the channels."""

from types import MappingProxyType

# Units as the challenge states them; "1" is a pure number.
PHYSIONET_UNITS = MappingProxyType(
    {
        "Albumin": "g/dL",
        "ALP": "IU/L",
        "ALT": "IU/L",
        "AST": "IU/L",
        "Bilirubin": "mg/dL",
        "BUN": "mg/dL",
        "Cholesterol": "mg/dL",
        "Creatinine": "mg/dL",
        "DiasABP": "mmHg",
        "FiO2": "1",
        "GCS": "1",
        "Glucose": "mg/dL",
        "HCO3": "mmol/L",
        "HCT": "%",
        "HR": "1/min",
        "K": "mEq/L",
        "Lactate": "mmol/L",
        "MAP": "mmHg",
        "MechVent": "1",
        "Mg": "mmol/L",
        "Na": "mEq/L",
        "NIDiasABP": "mmHg",
        "NIMAP": "mmHg",
        "NISysABP": "mmHg",
        "PaCO2": "mmHg",
        "PaO2": "mmHg",
        "pH": "1",
        "Platelets": "1/nL",
        "RespRate": "1/min",
        "SaO2": "%",
        "SysABP": "mmHg",
        "Temp": "°C",
        "TroponinI": "µg/L",
        "TroponinT": "µg/L",
        "Urine": "mL",
        "WBC": "1/nL",
        "Weight": "kg",
    }
)
VARIABLES = tuple(PHYSIONET_UNITS)
# Years; 0 female, 1 male; cm; 1 coronary care, 2 cardiac surgery, 3 medical, 4 surgical; kg.
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")
# Scores; days in hospital; days from admission to death; 0 or 1.
OUTCOMES = ("SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
