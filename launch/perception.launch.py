# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node; argument names are those of nav2."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and of the topics it hears."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "autostart": ("true", "Configure and activate without a lifecycle manager."),
    "use_respawn": ("false", "Start the node again if it ends."),
    "respawn_delay": ("2.0", "Seconds before that."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "image_topic": ("image", "Camera topic; with input.transport compressed, less /compressed."),
    "manifest_topic": ("container/manifest", "Topic of the container's manifest."),
    "transport": ("", "raw or compressed images; empty: as in params_file."),
    "reference_root": ("", "Folder of the reference images; empty: as in params_file."),
    "bundle": ("", "Model bundle; with it, the shipped params_file, all defaults, is left out."),
}
OPTIONAL = {
    "transport": "input.transport",
    "reference_root": "identification.reference_root",
    "bundle": "runtime.bundle",
}
SHIPPED = [FindPackageShare("robollm"), "config", "robollm.yaml"]


def declared():
    shipped = PathJoinSubstitution(SHIPPED)
    described = "YAML with the node's parameters, as `robollm config` prints them."
    return [
        DeclareLaunchArgument("params_file", default_value=shipped, description=described),
        *(
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in ARGUMENTS.items()
        ),
    ]


def perception(context):
    said = {name: LaunchConfiguration(name) for name in (*ARGUMENTS, "params_file")}
    overrides = {
        "use_sim_time": ParameterValue(said["use_sim_time"], value_type=bool),
        "autostart": ParameterValue(said["autostart"], value_type=bool),
    }
    for name, parameter in OPTIONAL.items():
        if value := said[name].perform(context):
            overrides[parameter] = ParameterValue(value, value_type=str)
    # a file that states every default would win over all that the bundle says
    shipped = PathJoinSubstitution(SHIPPED).perform(context)
    plain = said["bundle"].perform(context) and said["params_file"].perform(context) == shipped
    image, manifest = said["image_topic"], said["manifest_topic"]
    return [
        LifecycleNode(
            package="robollm",
            executable="perception_node",
            name="perception",
            namespace=said["namespace"],
            output="screen",
            respawn=said["use_respawn"],
            respawn_delay=float(said["respawn_delay"].perform(context)),
            parameters=[overrides] if plain else [said["params_file"], overrides],
            remappings=[
                ("image", image),
                ("image/compressed", [image, "/compressed"]),
                ("container/manifest", manifest),
            ],
            ros_arguments=["--log-level", said["log_level"]],
        )
    ]


def generate_launch_description():
    return LaunchDescription([*declared(), OpaqueFunction(function=perception)])
