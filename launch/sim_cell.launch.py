# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated cell: the simulator as camera and manifest source, and the perception node.

Takes the arguments of perception.launch.py too; those that name topics and transport hold for both.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PARAMETERS = {
    "seed": ("0", int, "The same seed shows the same cell."),
    "rate_hz": ("2.0", float, "Frames a second, as far as the simulator keeps up."),
    "frames": ("0", int, "End after so many; 0: never."),
    "cell_folder": ("/tmp/robollm_sim_cell", str, "Where the reference images are written."),
    "transport": ("compressed", str, "raw or compressed images, of both nodes."),
}


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
        on_exit=Shutdown(),
    )
    perception = PathJoinSubstitution([FindPackageShare("robollm"), "launch/perception.launch.py"])
    arguments = {"reference_root": said["cell_folder"], "transport": said["transport"]}
    included = IncludeLaunchDescription(perception, launch_arguments=arguments.items())
    return LaunchDescription([*declared, included, simulator])
