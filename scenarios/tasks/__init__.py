"""Problems, exams and graders."""
