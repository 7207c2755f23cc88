"""Google's own Firestore emulator."""
