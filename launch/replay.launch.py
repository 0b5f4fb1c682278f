# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to the perception node, once that is active and listens; then shuts down.

Takes the arguments of perception.launch.py too; those that name topics hold for the player as
well. `transport` must be as in the bag, and `camera_names` for a bag of several cameras.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "rate": ("1.0", "Times the recorded pace."),
    "lockstep": ("false", "Send a frame only when the one before is answered."),
    "loop": ("false", "Begin again at the end, for ever."),
    "image_topic_in_bag": ("", "Plays this camera alone; empty: all that the bag has."),
    "record": ("", "MCAP file for the answers; empty: none."),
    "linger": ("2.0", "Seconds to wait for answers after the last frame."),
}
FLAGS = {"lockstep": "--lockstep", "loop": "--loop", "use_sim_time": "--clock"}


def declared():
    return [
        DeclareLaunchArgument("bag", description="An .mcap file or a rosbag2 folder."),
        *(
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in ARGUMENTS.items()
        ),
    ]


def end_all(context):
    # after Ctrl-C everything ends anyway, and launch_ros fails when told so twice
    return [] if context.is_shutdown else [Shutdown()]


def programs(context):
    names = (*ARGUMENTS, "bag", "use_sim_time")
    said = {name: LaunchConfiguration(name).perform(context) for name in names}
    record = bool(said["record"])
    player = [
        said["bag"], "--rate", said["rate"], "--linger", said["linger"],
        "--image-topic", said["image_topic_in_bag"], "--listeners", str(int(record)),
        *(flag for name, flag in FLAGS.items() if said[name].lower() in ("true", "1")),
    ]  # fmt: skip
    names = {"package": "robollm", "namespace": LaunchConfiguration("namespace")}
    # declared by the launch file that is included first
    image, manifest = LaunchConfiguration("image_topic"), LaunchConfiguration("manifest_topic")
    # the bag is a camera and a clock of its own, so never on simulated time itself
    yield Node(
        executable="bag_player",
        arguments=player,
        output="screen",
        on_exit=OpaqueFunction(function=end_all),
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
