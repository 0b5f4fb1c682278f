# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to the perception node and, if asked, records the answers; then shuts down.

Takes the arguments of perception.launch.py too; those that name topics hold for the player as
well. `transport` must be as in the bag.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "rate": ("1.0", "Times the recorded pace."),
    "lockstep": ("false", "Send a frame only when the one before is answered."),
    "image_topic_in_bag": ("", "Needed if the bag has several image topics."),
    "record": ("", "MCAP file for the answers; empty: none."),
    "linger": ("2.0", "Seconds to wait for answers after the last frame."),
}


def declared():
    return [
        DeclareLaunchArgument("bag", description="An .mcap file or a rosbag2 folder."),
        *(
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in ARGUMENTS.items()
        ),
    ]


def programs(context):
    said = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, "bag")}
    record = bool(said["record"])
    lockstep = ["--lockstep"] if said["lockstep"].lower() in ("true", "1") else []
    player = [
        said["bag"], "--rate", said["rate"], "--linger", said["linger"],
        "--image-topic", said["image_topic_in_bag"], "--listeners", str(int(record)), *lockstep,
    ]  # fmt: skip
    names = {"package": "robollm", "namespace": LaunchConfiguration("namespace")}
    # declared by the launch file that is included first
    image, manifest = LaunchConfiguration("image_topic"), LaunchConfiguration("manifest_topic")
    # the bag is a camera of its own, so not on simulated time
    yield Node(
        executable="bag_player",
        arguments=player,
        output="screen",
        on_exit=Shutdown(),
        # those of the perception node, so that the two find each other
        remappings=[
            ("image", image),
            ("image/compressed", [image, "/compressed"]),
            ("container/manifest", manifest),
        ],
        **names,
    )
    if record:
        yield Node(executable="recorder", arguments=[said["record"]], output="screen", **names)


def generate_launch_description():
    perception = PathJoinSubstitution([FindPackageShare("robollm"), "launch/perception.launch.py"])
    included = IncludeLaunchDescription(perception)
    return LaunchDescription([*declared(), included, OpaqueFunction(function=programs)])
