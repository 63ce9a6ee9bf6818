"""What arq runs, a few lines each: arq's ctx and ids in, one use case of core, a delay or nothing out."""
