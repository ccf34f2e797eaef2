"""What exists: one module per group of the lineage graph, thin. Science is in research/, writing in storage/."""
