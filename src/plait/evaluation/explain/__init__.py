"""What a trained model looked at: its maps on disk, checked, and what each modality adds."""
