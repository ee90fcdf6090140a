"""Maquet Servo-i and Servo-s ventilators on their Computer Interface Emulator."""

from drivers.servo_i.config import ServoIConfig
from drivers.servo_i.driver import ServoI

__all__ = ["ServoI", "ServoIConfig"]
