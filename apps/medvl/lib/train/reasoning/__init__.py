"""Questions, chains of thought and answers, made of images, masks and conditions and checked against them."""
