"""What exists: one module per group of the lineage graph, thin. The science is in research/, the writing in storage/."""
