"""What the page asks for, without the page: nothing here imports gradio."""
