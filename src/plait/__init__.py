"""plait: attention-based multimodal fusion, and proof of what each modality adds."""
