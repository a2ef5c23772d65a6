"""GGUF files of a merged model: written here, and read back by llama.cpp itself."""
