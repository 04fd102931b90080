"""Files of a finished folder that its card tells of."""

CARD_FILE = "README.md"
TRAINING_PLOT = "training.png"
TRAINING_ARGUMENTS_FILE = "training_args.json"
