# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Draws meshes with MuJoCo off screen: colour, depth and which instance each pixel shows.

A `Renderer` uploads its skins once and then draws any number of placements of
them, so that a stock of products serves many scenes. It knows nothing of
physics. With a GPU it draws through EGL, else through OSMesa on the processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError
from robollm_core.synthetic.backend import load_mujoco
from robollm_core.synthetic.meshes import Float32Array, Float64Array, Mesh
from robollm_core.synthetic.shading import soften
from robollm_core.types import UInt8Array

Int32Array = npt.NDArray[np.int32]
Rgb = tuple[float, float, float]

_NEAR_M, _FAR_M = 0.05, 8.0
_MAX_PLACED = 400


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """What a placement looks like.

    Attributes:
        mesh: geometry, metres.
        texture: (H, W, 3) uint8 RGB.
        gloss: 0 matt to 1 shiny.
    """

    mesh: Mesh
    texture: UInt8Array
    gloss: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """One drawn thing.

    Attributes:
        skin: index into the renderer's skins.
        position_m: (3,) where the mesh's origin is.
        rotation: (3, 3) rotation of the mesh.
        tint: colour the texture is multiplied with, each in [0, 1].
        instance: number its pixels carry, -1 for the surroundings.
    """

    skin: int
    position_m: npt.NDArray[np.floating]
    rotation: npt.NDArray[np.floating]
    tint: Rgb = (1.0, 1.0, 1.0)
    instance: int = -1


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with square pixels.

    Attributes:
        position_m: where it is.
        target_m: what the middle of the image shows.
        up: direction that is up in the image, not along the line of sight.
        fovy_deg: vertical angle of view.
    """

    position_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    fovy_deg: float = 45.0

    def axes(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Unit vectors (right, up, forward) of the camera in the world."""
        forward = np.asarray(self.target_m, np.float64) - self.position_m
        forward /= np.linalg.norm(forward)
        right = np.asarray(np.cross(forward, self.up), np.float64)
        right /= np.linalg.norm(right)
        return right, np.asarray(np.cross(right, forward), np.float64), forward


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp: a cone from a place, or parallel rays.

    Attributes:
        position_m: where it is.
        direction: where it shines.
        diffuse, specular, ambient: RGB strength.
        parallel: whether its rays are parallel.
        shadow: whether things cast shadows from it.
        cutoff_deg: half angle of the cone.
    """

    position_m: tuple[float, float, float]
    direction: tuple[float, float, float]
    diffuse: Rgb = (0.7, 0.7, 0.7)
    specular: Rgb = (0.3, 0.3, 0.3)
    ambient: Rgb = (0.0, 0.0, 0.0)
    parallel: bool = False
    shadow: bool = True
    cutoff_deg: float = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """What the camera saw.

    Attributes:
        image_rgb: (H, W, 3) uint8.
        instances: (H, W) int32, `Placement.instance` of what the pixel shows,
            -1 for surroundings and emptiness.
        depth_m: (H, W) float32, distance along the line of sight.
    """

    image_rgb: UInt8Array
    instances: Int32Array
    depth_m: Float32Array


class Renderer:
    """Draws placements of a fixed list of skins; use as a context manager."""

    def __init__(
        self, skins: Sequence[Skin], size_px: tuple[int, int] = (480, 640), shadow_px: int = 1024
    ) -> None:
        """Upload the skins.

        Args:
            skins: What can be placed, at least one.
            size_px: (height, width) of the images.
            shadow_px: Edge length of the shadow maps; smaller is softer.

        Raises:
            DependencyError: If MuJoCo or its graphics library is missing.
            ShapeError: If there is no skin or a texture is not (H, W, 3) uint8.
        """
        if not skins:
            raise ShapeError("A renderer needs at least one skin, got none.")
        self.size_px = size_px
        self._mj = load_mujoco()
        self._skins = tuple(skins)
        self._model = self._compile(shadow_px)
        height, width = size_px
        self._gl: Any = self._mj.GLContext(width, height)
        self._gl.make_current()
        self._context: Any = self._mj.MjrContext(self._model, self._mj.mjtFontScale.mjFONTSCALE_50)
        self._mj.mjr_setBuffer(self._mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = self._mj.MjvScene(self._model, maxgeom=_MAX_PLACED)
        # MuJoCo moves every mesh to its principal axes; placements speak of the original ones
        self._offsets = np.array(self._model.mesh_pos)
        self._turns = [self._matrix(quaternion) for quaternion in self._model.mesh_quat]

    def __enter__(self) -> "Renderer":
        """Return the renderer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the graphics memory."""
        self.close()

    def close(self) -> None:
        """Free the graphics memory; the renderer cannot draw afterwards."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = self._gl = None

    def _matrix(self, quaternion: Float64Array) -> Float64Array:
        flat = np.zeros(9)
        self._mj.mju_quat2Mat(flat, np.asarray(quaternion, np.float64))
        return flat.reshape(3, 3)

    def _compile(self, shadow_px: int) -> Any:
        mj = self._mj
        spec = mj.MjSpec()
        spec.visual.global_.offheight, spec.visual.global_.offwidth = self.size_px
        spec.visual.quality.shadowsize = shadow_px
        spec.visual.quality.offsamples = 4
        spec.visual.map.shadowscale = 0.5  # shadows matter in the middle of a lamp's cone only
        for number, skin in enumerate(self._skins):
            texture = skin.texture
            if texture.ndim != 3 or texture.shape[2] != 3 or texture.dtype != np.uint8:
                raise ShapeError(
                    f"The texture of skin {number} must be (H, W, 3) uint8, got {texture.shape} "
                    f"{texture.dtype}."
                )
            _add_skin(mj, spec, f"skin{number}", skin)
        return spec.compile()

    def render(
        self,
        placements: Sequence[Placement],
        camera: Camera,
        lights: Sequence[Light],
        ambient: Rgb = (0.25, 0.25, 0.25),
        soft_px: float = 0.0,
    ) -> Rendering:
        """Draw.

        Args:
            placements: What stands where, at most 400.
            camera: Seen from here.
            lights: At most 60 lamps; several weak ones side by side cast soft shadows.
            ambient: Light from everywhere.
            soft_px: Half width of the soft edge of shadows, 0 for hard ones.

        Returns:
            Colour, instance numbers and depth of the renderer's size.
        """
        self._load(placements)
        self._light(lights, ambient)
        self._aim(camera, (0, 0, *self.size_px[::-1]))
        height, width = self.size_px
        image: UInt8Array = np.empty((height, width, 3), np.uint8)
        depth = np.empty((height, width), np.float32)
        self._draw(image, depth, ids=False)
        distance = _NEAR_M * _FAR_M / (_FAR_M - depth * (_FAR_M - _NEAR_M))
        far = distance.astype(np.float32)
        if soft_px > 0:
            plain = np.empty_like(image)
            self._draw(plain, None, ids=False, shadow=False)
            image = soften(image, plain, far, soft_px)
        return Rendering(
            np.ascontiguousarray(image[::-1]),
            self._instances(placements, self.size_px),
            np.ascontiguousarray(far[::-1]),
        )

    def silhouette_px(self, placement: Placement, camera: Camera) -> int:
        """Pixels the placement would cover alone, also those outside the image."""
        window = self._window(placement, camera)
        if window is None:
            return 0
        x0, y0, x1, y1 = window
        self._load([placement])
        total = 0
        height, width = self.size_px
        for top in range(y0, y1, height):
            for left in range(x0, x1, width):
                tile = (left, top, min(left + width, x1), min(top + height, y1))
                self._aim(camera, tile)
                size = (tile[3] - tile[1], tile[2] - tile[0])
                total += int(np.count_nonzero(self._numbers(size)))
        return total

    def _instances(self, placements: Sequence[Placement], size: tuple[int, int]) -> Int32Array:
        names = np.array([-1, *(placement.instance for placement in placements)], np.int32)
        return np.ascontiguousarray(names[self._numbers(size)][::-1])

    def _numbers(self, size: tuple[int, int]) -> Int32Array:
        """1 + index of the placement a pixel shows, 0 for none; rows bottom up."""
        colours = np.empty((*size, 3), np.uint8)
        self._draw(colours, None, ids=True)
        wide = colours.astype(np.int32)
        return np.asarray(wide[..., 0] + (wide[..., 1] << 8) + (wide[..., 2] << 16), np.int32)

    def _draw(
        self, image: UInt8Array, depth: Float32Array | None, *, ids: bool, shadow: bool = True
    ) -> None:
        mj, flags = self._mj, self._scene.flags
        self._gl.make_current()
        flags[:] = 0
        flags[mj.mjtRndFlag.mjRND_CULL_FACE] = 1
        flags[mj.mjtRndFlag.mjRND_SHADOW] = shadow and not ids
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = ids
        flags[mj.mjtRndFlag.mjRND_IDCOLOR] = ids
        area = mj.MjrRect(0, 0, image.shape[1], image.shape[0])
        mj.mjr_render(area, self._scene, self._context)
        mj.mjr_readPixels(image, depth, area, self._context)

    def _load(self, placements: Sequence[Placement]) -> None:
        mj, scene = self._mj, self._scene
        if len(placements) > _MAX_PLACED:
            raise ShapeError(
                f"At most {_MAX_PLACED} placements can be drawn, got {len(placements)}."
            )
        for number, placement in enumerate(placements):
            geom = scene.geoms[number]
            skin = placement.skin
            turn = np.asarray(placement.rotation, np.float64)
            position = np.asarray(placement.position_m, np.float64) + turn @ self._offsets[skin]
            colour = np.array([*placement.tint, 1.0], np.float32)
            flat = (turn @ self._turns[skin]).reshape(9)
            mesh = mj.mjtGeom.mjGEOM_MESH
            mj.mjv_initGeom(geom, mesh, np.ones(3), position, flat, colour)
            geom.dataid, geom.matid, geom.texcoord = 2 * skin, skin, 1
            geom.segid = geom.objid = number
            geom.objtype, geom.category = mj.mjtObj.mjOBJ_GEOM, mj.mjtCatBit.mjCAT_DYNAMIC
            gloss = self._skins[skin].gloss
            geom.specular, geom.shininess = 0.05 + 0.95 * gloss, 0.1 + 0.6 * gloss
        scene.ngeom = len(placements)

    def _light(self, lights: Sequence[Light], ambient: Rgb) -> None:
        mj, scene = self._mj, self._scene
        # a lamp with shadows gives no ambient light where its shadow falls, so ambience has
        # a lamp of its own
        everywhere = Light((0, 0, 3), (0, 0, -1), (0, 0, 0), (0, 0, 0), ambient, True, False)
        scene.nlight = 1 + len(lights)
        for number, light in enumerate((everywhere, *lights)):
            lamp = scene.lights[number]
            kind = mj.mjtLightType
            lamp.type = kind.mjLIGHT_DIRECTIONAL if light.parallel else kind.mjLIGHT_SPOT
            lamp.pos[:] = light.position_m
            lamp.dir[:] = np.asarray(light.direction) / np.linalg.norm(light.direction)
            lamp.ambient[:], lamp.diffuse[:] = light.ambient, light.diffuse
            lamp.specular[:] = light.specular
            lamp.attenuation[:] = (1.0, 0.0, 0.0)
            lamp.cutoff, lamp.exponent = light.cutoff_deg, 1.0
            lamp.castshadow, lamp.headlight, lamp.texid = light.shadow, 0, -1

    def _aim(self, camera: Camera, window: tuple[int, int, int, int]) -> None:
        """Point at the part (x0, y0, x1, y1) of the image plane, pixels of the full image."""
        height, width = self.size_px
        px = 2 * _NEAR_M * np.tan(np.radians(camera.fovy_deg) / 2) / height
        x0, y0, x1, y1 = window
        _, up, forward = camera.axes()
        for eye in self._scene.camera:
            eye.pos[:], eye.forward[:], eye.up[:] = camera.position_m, forward, up
            eye.frustum_near, eye.frustum_far = _NEAR_M, _FAR_M
            eye.frustum_top = (height / 2 - y0) * px
            eye.frustum_bottom = (height / 2 - y1) * px
            eye.frustum_center = ((x0 + x1) / 2 - width / 2) * px
            eye.frustum_width = (x1 - x0) / 2 * px
            eye.orthographic = 0

    def _window(self, placement: Placement, camera: Camera) -> tuple[int, int, int, int] | None:
        """Pixel edges around the placement's projection; None when it is behind the camera."""
        mesh = self._skins[placement.skin].mesh
        points = mesh.vertices @ np.asarray(placement.rotation).T + placement.position_m
        pixels, depth = project(points, camera, self.size_px)
        if float(depth.min()) < _NEAR_M:
            return None
        low = np.floor(pixels.min(axis=0)).astype(int) - 1
        high = np.ceil(pixels.max(axis=0)).astype(int) + 1
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def project(
    points_m: npt.NDArray[np.floating], camera: Camera, size_px: tuple[int, int]
) -> tuple[Float64Array, Float64Array]:
    """Project world points (N, 3) to pixels (N, 2) as (x, y), with their depth (N,), metres."""
    right, up, forward = camera.axes()
    seen = np.asarray(points_m, np.float64) - camera.position_m
    depth = seen @ forward
    focal = size_px[0] / 2 / np.tan(np.radians(camera.fovy_deg) / 2)
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    x = size_px[1] / 2 + focal * (seen @ right) / safe
    y = size_px[0] / 2 - focal * (seen @ up) / safe
    return np.stack([x, y], -1), depth


def _add_skin(mj: ModuleType, spec: Any, name: str, skin: Skin) -> None:
    faces = skin.mesh.faces.ravel()
    mesh = spec.add_mesh(name=name, inertia=mj.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert, mesh.userface = skin.mesh.vertices.ravel(), faces
    mesh.usernormal, mesh.usertexcoord = skin.mesh.normals.ravel(), skin.mesh.uv.ravel()
    mesh.userfacenormal = mesh.userfacetexcoord = faces
    height, width = skin.texture.shape[:2]
    texture = spec.add_texture(
        name=name, type=mj.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3
    )
    texture.data = skin.texture.tobytes()
    material = spec.add_material(name=name)
    material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name
    spec.worldbody.add_geom(
        type=mj.mjtGeom.mjGEOM_MESH, meshname=name, material=name, contype=0, conaffinity=0
    )
