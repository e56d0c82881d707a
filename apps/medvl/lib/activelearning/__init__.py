"""Which scan an annotator is offered next, and how sure the model is of each."""
