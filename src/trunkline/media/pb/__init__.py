"""Generated from `media-engine/media.proto` by `make proto`; not edited by hand."""
