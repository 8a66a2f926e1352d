"""The rules of replication as a small exact model, and schedules that show what each rule is for."""
