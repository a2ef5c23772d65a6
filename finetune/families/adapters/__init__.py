"""LoRA, rsLoRA and DoRA adapters of a base that stays in memory: one mechanism for training and
serving. peft names, initialises and saves adapters; what they compute is computed here."""
