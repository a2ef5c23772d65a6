"""Who, and what they hold. Never imports finetune."""
