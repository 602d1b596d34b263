"""What people read: tables and files."""
