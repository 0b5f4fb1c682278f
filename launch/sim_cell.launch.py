# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated cell: its cameras, manifests, pick events and faults, and the perception node.

Takes the arguments of perception.launch.py too; those that name topics and transport hold for both.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.substitutions import (
    EqualsSubstitution,
    IfElseSubstitution,
    LaunchConfiguration,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

CAMERAS = [FindPackageShare("robollm"), "config", "sim_cell_cameras.yaml"]
PARAMETERS = {
    "seed": ("0", int, "The same seed shows the same cell."),
    "rate_hz": ("5.0", float, "Frames of the tote camera a second."),
    "picks_per_s": ("0.5", float, "Picks a second; 0: nothing is picked."),
    "frames": ("0", int, "End after so many frames of the tote; 0: never."),
    "cameras": ("all", str, "all: tote_top and three pick cameras; tote: one, on image_topic."),
    "faults": ("", str, "As in blackout=1,blur,random=4: how many a minute; empty: none."),
    "states": ("24", int, "States of totes to render; 0: play what lies in cell_folder."),
    "cell_folder": ("/tmp/robollm_sim_cell", str, "Gets the cell and its reference images."),
    "transport": ("compressed", str, "raw or compressed images, of both nodes."),
    "wait_s": ("60.0", float, "Wait so long for the perception node before the first frame."),
    "run": ("", str, "Part of names, new at each start; empty: the time."),
    "report": ("", str, "JSON file for what was sent; empty: none."),
}


def end_all(context):
    # after Ctrl-C everything ends anyway, and launch_ros fails when told so twice
    return [] if context.is_shutdown else [Shutdown()]


def generate_launch_description():
    said = {name: LaunchConfiguration(name) for name in PARAMETERS}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, _, description) in PARAMETERS.items()
    ]
    # declared by the launch file that is included first
    image, manifest = LaunchConfiguration("image_topic"), LaunchConfiguration("manifest_topic")
    simulator = Node(
        package="robollm",
        executable="sim_cell_node",
        name="sim_cell",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            {name: ParameterValue(said[name], value_type=PARAMETERS[name][1]) for name in said}
        ],
        # those of the perception node, so that the two find each other
        remappings=[
            ("image", image),
            ("image/compressed", [image, "/compressed"]),
            ("container/manifest", manifest),
        ],
        on_exit=OpaqueFunction(function=end_all),
    )
    perception = PathJoinSubstitution([FindPackageShare("robollm"), "launch/perception.launch.py"])
    several = EqualsSubstitution(said["cameras"], "all")
    arguments = {
        "reference_root": said["cell_folder"],
        "transport": said["transport"],
        "cameras_file": IfElseSubstitution(several, PathJoinSubstitution(CAMERAS)),
    }
    included = IncludeLaunchDescription(perception, launch_arguments=arguments.items())
    return LaunchDescription([*declared, included, simulator])
