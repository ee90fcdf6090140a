"""DICOM storage: images and other instances as objects, waveforms as waves.

Empty: the agent keeps the book of storage commitments, and loads pydicom for a room with DICOM alone.
"""
